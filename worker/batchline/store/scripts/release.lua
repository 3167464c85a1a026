#!lua flags=allow-oom
-- Give a lease back and say when somebody should look at the batch again: at once, if it was asked to be cancelled
-- while the caller held it.
-- KEYS 1 batch (hash)  2 agenda (zset)
-- ARGV 1 fence  2 batch id  3 when to look (ms)  4 since when (ms) it is to be cancelled as the caller knows it, 0: not
-- Returns 1. Errors LEASELOST, STATE (while a create call may be running, and after `settled`, there is nothing to release).
--@include fence
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'submitting' or state == 'settled' then
  return redis.error_reply('STATE release is refused in ' .. state)
end
local look = (redis.call('HGET', KEYS[1], 'cancel_ms') or '0') == ARGV[4] and ARGV[3] or 0
redis.call('HSET', KEYS[1], 'lease_until', 0, 'next_ms', look)
redis.call('ZADD', KEYS[2], look, ARGV[2])
return 1
