#!lua flags=allow-oom
-- submitted, ended -> reconciling: the provider's batch was adopted without proof and its results are not ours. The claim
-- on it is given up, its id is remembered so that it is not adopted again, and the room is taken again.
-- KEYS 1 batch (hash)  2 the claim on the provider's batch (string)  3 agenda of accumulate  4 agenda of poll (zsets)
--      5 the account's open batches (hash)
-- ARGV 1 fence  2 batch id  3 provider id  4 when to look at the provider (ms)
-- Returns 1. Errors LEASELOST, STATE.
--@include fence
--@include room
local batch = redis.call('HMGET', KEYS[1], 'state', 'provider_id', 'disowned', 'rows', 'sent_tokens', 'pool', 'lane')
local disowned = batch[3] or ''
if batch[1] == 'reconciling' and string.find(disowned .. ' ', ARGV[3] .. ' ', 1, true) then
  return 1
end
if (batch[1] ~= 'submitted' and batch[1] ~= 'ended') or batch[2] ~= ARGV[3] then
  return redis.error_reply('STATE disown needs the batch that holds this provider batch, this one is ' .. tostring(batch[1]))
end
if redis.call('GET', KEYS[2]) == ARGV[2] then
  redis.call('DEL', KEYS[2])
end
redis.call('HDEL', KEYS[1], 'provider_id', 'submitted_ms', 'expires_ms', 'outcome', 'ended_ms', 'results', 'proven')
redis.call('HSET', KEYS[1], 'state', 'reconciling', 'disowned', disowned .. (disowned == '' and '' or ' ') .. ARGV[3],
           'next_ms', ARGV[4], 'lease_until', 0)
redis.call('HSET', KEYS[5], ARGV[2], room_entry(batch[4] or 0, batch[5] or 0, '1', batch[6] or '', batch[7]))
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
return 1
