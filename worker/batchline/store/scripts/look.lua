#!lua flags=allow-oom
-- Look at one page of the lanes: which have something to walk, an open range, or retries waiting.
-- Idle lanes cost nothing beyond their share of the page. Lanes beyond the limit that were never walked are set aside,
-- and come back when there is room.
-- KEYS 1 lanes (set)  2 lanes set aside (set)
-- ARGV 1 SSCAN cursor  2 page size  3 most lanes
-- Derived keys: batchline:{lane}:requests, :walk, :retry of each lane in the page.
-- Returns {next cursor, set aside, broken, lanes}: the first as SSCAN gives it; names newly set aside; names whose
--   keys have another type; and for each lane with work {name, unwalked 0|1, since ms, last, requests, bytes, tokens,
--   full, retry not-before ms or '', time of the last cut (ms)}.
local page = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local over = redis.call('SCARD', KEYS[1]) - tonumber(ARGV[3])
local aside, broken, busy = {}, {}, {}
if over < 0 then
  for _, lane in ipairs(redis.call('SPOP', KEYS[2], math.min(-over, 100))) do
    redis.call('SADD', KEYS[1], lane)
  end
end
for _, lane in ipairs(page[2]) do
  local base = 'batchline:{' .. lane .. '}:'
  if over > 0 and redis.call('EXISTS', base .. 'walk') == 0 then
    redis.call('SMOVE', KEYS[1], KEYS[2], lane)
    over = over - 1
    aside[#aside + 1] = lane
  else
    local open = redis.pcall('HMGET', base .. 'walk', 'last', 'since', 'requests', 'bytes', 'tokens', 'full', 'cut_ms')
    local beyond = redis.pcall('XRANGE', base .. 'requests', '(' .. (open[1] or '0-0'), '+', 'COUNT', 1)
    local retry = redis.pcall('ZRANGE', base .. 'retry', 0, 0, 'WITHSCORES')
    if open.err or beyond.err or retry.err then
      broken[#broken + 1] = lane
    elseif #beyond > 0 or #retry > 0 or (open[3] or '0') ~= '0' then
      busy[#busy + 1] = {lane, #beyond, open[2] or '', open[1] or '0-0', open[3] or '0', open[4] or '0',
                         open[5] or '0', open[6] or '', retry[2] or '', open[7] or '0'}
    end
  end
end
return {page[1], aside, broken, busy}
