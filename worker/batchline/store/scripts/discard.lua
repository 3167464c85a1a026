#!lua flags=allow-oom
-- Remove the oldest of the replies that could not be delivered, up to the first that is younger, or that is no reply.
-- KEYS 1 undelivered (list, oldest first)
-- ARGV 1 settled before (ms)  2 most replies  3 most bytes to look at in this call  4 '1' to remove, '' to count only
--      5 how many to pass over (when counting)
-- Returns {how many, more 0|1}: more when the call ended by its limits.
local at, found, left = tonumber(ARGV[5]), 0, tonumber(ARGV[3])
while found < tonumber(ARGV[2]) and left > 0 do
  local reply = redis.call('LINDEX', KEYS[1], at)
  local read, decoded = pcall(cjson.decode, reply or '')
  local timing = read and type(decoded) == 'table' and decoded.timing
  local settled = type(timing) == 'table' and tonumber(timing.settled)
  if not settled or settled >= tonumber(ARGV[1]) then
    return {found, 0}
  end
  left = left - #reply
  found = found + 1
  if ARGV[4] == '1' then
    redis.call('LPOP', KEYS[1])
  else
    at = at + 1
  end
end
return {found, 1}
