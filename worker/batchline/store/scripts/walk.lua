#!lua flags=allow-oom
-- Advance a lane's open range over entries not seen before, up to the flush limits; each entry is walked once.
-- The ledger of its name is listed then: from here on what the lane took in is counted in metrics.
-- KEYS 1 requests (stream)  2 walk (hash)  3 ledgers (zset)
-- ARGV 1 most requests  2 most bytes  3 most tokens (0: no limit)  4 bytes a row adds to its body
--      5 bytes per token (estimate, until the lane has one of its own)  6 most entries in this call  7 most body bytes in this call  8 now (ms)
--      9 ledger name, or '' to list none
-- Returns {since ms, last, requests, bytes, tokens, full, unwalked 0|1}; full is the limit that stopped the walk, or ''.
--@include body
--@include listed
local max_requests, max_bytes, max_tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local row_bytes = tonumber(ARGV[4])
local entries_left, bytes_left = tonumber(ARGV[6]), tonumber(ARGV[7])

local seen = redis.call('HMGET', KEYS[2], 'last', 'since', 'requests', 'bytes', 'tokens', 'largest', 'full', 'per_token')
local last, since, full = seen[1] or '0-0', seen[2] or '', seen[7] or ''
local requests, bytes, tokens = tonumber(seen[3] or 0), tonumber(seen[4] or 0), tonumber(seen[5] or 0)
local largest, per_token = tonumber(seen[6] or 0), tonumber(seen[8] or ARGV[5])

local function entry_size(fields)
  local size = 0
  for i = 2, #fields, 2 do
    size = size + #fields[i]
  end
  return size
end

-- A range of one is always allowed; beyond that the limit stops the walk before the entry that would pass it.
local function limit_before(row, estimate)
  if requests == 0 then
    return ''
  elseif bytes + row > max_bytes then
    return 'bytes'
  elseif max_tokens > 0 and tokens + estimate > max_tokens then
    return 'tokens'
  end
  return ''
end

local function limit_reached()
  if requests >= max_requests then
    return 'requests'
  elseif bytes >= max_bytes then
    return 'bytes'
  elseif max_tokens > 0 and tokens >= max_tokens then
    return 'tokens'
  end
  return ''
end

local more, step = 1, 1
while full == '' and more == 1 and entries_left > 0 and bytes_left > 0 do
  -- Small steps: how large bodies are is not known before they are read, and larger steps are not faster.
  local page = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', math.min(step, entries_left))
  more = #page == math.min(step, entries_left) and 1 or 0
  for i, entry in ipairs(page) do
    local size = body_size(entry[2])
    local row, estimate = size + row_bytes, math.ceil(size / per_token)
    full = limit_before(row, estimate)
    if full ~= '' then
      more = 1
      break
    end
    if requests == 0 then
      -- A producer's own entry id may lie in the future; a range never ages backwards.
      since = math.min(tonumber(string.match(entry[1], '^%d+')), tonumber(ARGV[8]))
    end
    last = entry[1]
    requests, bytes, tokens = requests + 1, bytes + row, tokens + estimate
    local whole = entry_size(entry[2])
    largest = math.max(largest, whole)
    entries_left, bytes_left = entries_left - 1, bytes_left - whole
    full = limit_reached()
    if full ~= '' then
      more = i < #page and 1 or more
      break
    end
  end
  step = math.max(1, math.min(step * 2, 8, math.floor(bytes_left / math.max(largest, 1))))
end

redis.call('HSET', KEYS[2], 'last', last, 'since', since, 'requests', requests, 'bytes', bytes, 'tokens', tokens,
           'largest', largest, 'full', full)
if ARGV[9] ~= '' then
  list_ledger(KEYS[3], ARGV[9], ARGV[8])
end
return {tostring(since), last, requests, bytes, tokens, full, more}
