#!lua flags=allow-oom
-- submitting, reconciling -> submitted: the provider's batch is known and belongs to this one alone. Gives the lease back.
-- KEYS 1 batch (hash)  2 the claim on the provider's batch (string)  3 agenda of accumulate  4 agenda of poll (zsets)
-- ARGV 1 fence  2 batch id  3 provider id  4 submitted (ms)  5 expires (ms, 0: not told)  6 first poll (ms)
-- Returns 1, or 0 when another batch claimed this provider batch. Errors LEASELOST, STATE.
--@include fence
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[2] then
  return 0
end
local batch = redis.call('HMGET', KEYS[1], 'state', 'provider_id')
if batch[1] == 'submitted' and batch[2] == ARGV[3] then
  return 1
end
if batch[1] ~= 'submitting' and batch[1] ~= 'reconciling' then
  return redis.error_reply('STATE submitted needs a batch in submitting or reconciling, this one is ' .. tostring(batch[1]))
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'submitted', 'provider_id', ARGV[3], 'submitted_ms', ARGV[4],
           'expires_ms', ARGV[5], 'next_ms', ARGV[6], 'lease_until', 0)
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[6], ARGV[2])
return 1
