#!lua flags=allow-oom
-- submitted -> ended: the provider is done with it. Gives the account's room back; the lease stays.
-- KEYS 1 batch (hash)  2 the account's open batches (hash)
-- ARGV 1 fence  2 batch id  3 outcome  4 ended (ms)  5 references to the results (JSON)
-- Returns 1. Errors LEASELOST, STATE.
--@include fence
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'submitted' and state ~= 'ended' then
  return redis.error_reply('STATE ended needs a batch in submitted, this one is ' .. tostring(state))
end
redis.call('HSET', KEYS[1], 'state', 'ended', 'outcome', ARGV[3], 'ended_ms', ARGV[4], 'results', ARGV[5])
redis.call('HDEL', KEYS[2], ARGV[2])
return 1
