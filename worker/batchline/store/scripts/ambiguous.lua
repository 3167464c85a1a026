#!lua flags=allow-oom
-- submitting -> reconciling: the create call may have happened. Gives the lease back.
-- KEYS 1 batch (hash)  2 agenda of accumulate (zset)  3 the account's ledger of trouble (hash)
-- ARGV 1 fence  2 batch id  3 when to look at the provider (ms)
--      4 when the attempt's input file was deleted (ms), '' if it was not
-- Returns 1. Errors LEASELOST, STATE.
--@include fence
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'submitting' and state ~= 'reconciling' then
  return redis.error_reply('STATE ambiguous needs a batch in submitting, this one is ' .. tostring(state))
end
if state == 'submitting' then
  redis.call('HINCRBY', KEYS[3], 'ambiguous', 1)
end
redis.call('HSET', KEYS[1], 'state', 'reconciling', 'next_ms', ARGV[3], 'lease_until', 0)
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'fenced_ms', ARGV[4])
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
