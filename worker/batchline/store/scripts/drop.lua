#!lua flags=allow-oom
-- Forget dead letters for good.
-- KEYS 1 the lane's dead letters (hash)  2 all dead letters by time (zset)
-- ARGV 1 lane  2.. entry ids
-- Returns how many were dropped.
local dropped = 0
for i = 2, #ARGV do
  redis.call('ZREM', KEYS[2], ARGV[i] .. '|' .. ARGV[1])
  dropped = dropped + redis.call('HDEL', KEYS[1], ARGV[i])
end
return dropped
