#!lua flags=allow-oom
-- Move replies from a callback list to what its reader has taken. A full store must not refuse it: reading frees memory.
-- Never resent blindly: after a lost reply the reader asks for all that it has taken.
-- KEYS 1 the callback list  2 what the reader has taken (list)
-- ARGV 1 most replies  2 expiry of both (s)
-- Returns the replies, oldest first.
local replies = {}
for i = 1, tonumber(ARGV[1]) do
  local reply = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
  if not reply then
    break
  end
  replies[i] = reply
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return replies
