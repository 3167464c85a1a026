#!lua flags=allow-oom
-- Note which store this is, by its own identity; a restart or a failover makes it another one.
-- KEYS 1 the store as it was last seen (hash: identity -> since when, ms)
-- ARGV 1 identity  2 now (ms)
-- Returns since when (ms) this store stands in place of another, 0 when there was none before.
local since = redis.call('HGET', KEYS[1], ARGV[1])
if since then
  return tonumber(since)
end
since = redis.call('DEL', KEYS[1]) == 1 and ARGV[2] or '0'
redis.call('HSET', KEYS[1], ARGV[1], since)
return tonumber(since)
