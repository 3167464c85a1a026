#!lua flags=allow-oom
-- Note what became of a provider's file that was due to be deleted: it is gone, or is tried again after a wait that
-- doubles with each failure in a row.
-- KEYS 1 files (zset: `account|file` by time)  2 failures (hash: `account|file` -> how often and when last, `times:ms`)
-- ARGV 1 the file as it stands in KEYS 1  2 '1' gone, '0' failed  3 now (ms)  4 least wait (ms)  5 most wait (ms)
-- Returns when it is tried again (ms), 0 when it is gone.
if ARGV[2] == '1' or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  return 0
end
local times, last = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '0:', '^(%d+):(%d*)$')
if last ~= ARGV[3] then
  times = times + 1
  redis.call('HSET', KEYS[2], ARGV[1], times .. ':' .. ARGV[3])
end
local wait = math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) * 2 ^ math.min(times - 1, 30))
local again = string.format('%.0f', ARGV[3] + wait)
redis.call('ZADD', KEYS[1], again, ARGV[1])
return tonumber(again)
