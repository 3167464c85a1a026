#!lua flags=allow-oom
-- Count and delete what expires unread: look at the callback queues whose time has come, and at some others by chance, to
-- forget those that were read empty. A request's own queue that was prolonged since its reply came was read; it is left to
-- the store's own expiry. A shared one is looked at again when its time comes; so is one that a reader may still give back to.
-- KEYS 1 unread (zset)  2 expired (hash of counters)
-- ARGV 1 most queues to look at in this call, of each kind
-- Derived keys: the queues in KEYS 1, and the readers of shared lists. Nothing but a callback queue is ever deleted.
-- Returns {due, looked at by chance, forgotten of those, replies expired in lists, in streams, queues deleted}.
--@include unread
local now, most = clock_ms(), ARGV[1]

local function readers(queue)
  local name = string.match(queue, '^batchline:reply:([^:]+)$')
  return name and 'batchline:readers:' .. name
end

local function forget_if_gone(queue)
  local shared = readers(queue)
  if redis.call('EXISTS', queue) + (shared and redis.call('EXISTS', shared) or 0) > 0 then
    return 0
  end
  return redis.call('ZREM', KEYS[1], queue)
end

-- What no consumer group has read yet and acknowledged; without groups nobody knows, and all counts.
local function unread_in_stream(queue)
  local least = redis.call('XLEN', queue)
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', queue)) do
    local found = {}
    for i = 1, #group, 2 do
      found[group[i]] = group[i + 1]
    end
    if found.lag then
      least = math.min(least, found.lag + found.pending)
    end
  end
  return least
end

-- Returns until when (ms) a queue was prolonged, and by whose kind it is; nil for what is no callback queue with an expiry.
local function expiry(queue)
  local kind = redis.call('TYPE', queue).ok
  local list, stream = string.find(queue, '^batchline:reply:'), string.find(queue, '^batchline:replies:')
  local ends = redis.call('PEXPIRETIME', queue)
  if ends > 0 and ((list and kind == 'list') or (stream and kind == 'stream')) then
    return ends - LONGER_S * 1000, kind
  end
end

local counts, deleted = {list = 0, stream = 0}, 0

local function expire(queue, noted)
  local ends, kind = expiry(queue)
  local own = not shared_name(queue)
  if not ends then
    local shared = readers(queue)
    local seen = shared and redis.call('PEXPIRETIME', shared) or -2
    if seen > now then
      redis.call('ZADD', KEYS[1], string.format('%.0f', seen), queue)
    else
      redis.call('ZREM', KEYS[1], queue)
    end
  elseif own and math.abs(ends - noted) > 1 then
    redis.call('ZREM', KEYS[1], queue)
  elseif ends > now then
    redis.call('ZADD', KEYS[1], string.format('%.0f', ends), queue)
  else
    local n = kind == 'list' and redis.call('LLEN', queue) or unread_in_stream(queue)
    redis.call('UNLINK', queue)
    redis.call('ZREM', KEYS[1], queue)
    counts[kind], deleted = counts[kind] + n, deleted + 1
  end
end

local due = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
for i = 1, #due, 2 do
  expire(due[i], tonumber(due[i + 1]))
end
local others, gone = redis.call('ZRANDMEMBER', KEYS[1], most), 0
for _, queue in ipairs(others) do
  gone = gone + forget_if_gone(queue)
end
for kind, n in pairs(counts) do
  if n > 0 then
    redis.call('HINCRBY', KEYS[2], 'callbacks:' .. kind .. ':expired', n)
  end
end
return {#due / 2, #others, gone, counts.list, counts.stream, deleted}
