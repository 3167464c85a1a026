#!lua flags=allow-oom
-- Note that a batch is to be cancelled, and let somebody look at it at once. What it carries was marked before; this is
-- for what is at the provider already, or about to be: whoever polls it asks the provider to stop, and gives up results
-- that are not there any more.
-- KEYS 1 batch (hash)  2 agenda of accumulate  3 agenda of poll (zsets)
-- ARGV 1 batch id  2 now (ms)
-- Returns the batch's state, or 'gone' (no such batch).
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return 'gone'
end
if state ~= 'settled' then
  redis.call('HSETNX', KEYS[1], 'cancel_ms', ARGV[2])
  if state == 'cut' or state == 'submitted' or state == 'ended' then
    redis.call('HSET', KEYS[1], 'next_ms', ARGV[2])
    redis.call('ZADD', state == 'cut' and KEYS[2] or KEYS[3], 'LT', ARGV[2], ARGV[1])
  end
end
return state
