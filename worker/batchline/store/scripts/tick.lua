#!lua flags=allow-oom
-- Take a turn (the tick of a role, the audit of an account) for a while, unless another worker has it.
-- KEYS 1 who has it (string)
-- ARGV 1 holder  2 for how long (ms)
-- Returns 1, or 0 when another worker has it.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
if not owner then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
