#!lua flags=no-writes,allow-oom
-- How many replies wait in a callback queue.
-- KEYS 1 queue
-- ARGV 1 its kind ('list' or 'stream')
-- Returns the number; 0 where there is no queue, or something else has its name (its replies go to the default queue).
if redis.call('TYPE', KEYS[1]).ok ~= ARGV[1] then
  return 0
end
return redis.call(ARGV[1] == 'list' and 'LLEN' or 'XLEN', KEYS[1])
