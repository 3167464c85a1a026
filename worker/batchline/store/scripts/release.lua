#!lua flags=allow-oom
-- Give a lease back and say when somebody should look at the batch again.
-- KEYS 1 batch (hash)  2 agenda (zset)
-- ARGV 1 fence  2 batch id  3 when to look (ms)
-- Returns 1. Errors LEASELOST, STATE (while a create call may be running, and after `settled`, there is nothing to release).
--@include fence
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'submitting' or state == 'settled' then
  return redis.error_reply('STATE release is refused in ' .. state)
end
redis.call('HSET', KEYS[1], 'lease_until', 0, 'next_ms', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
