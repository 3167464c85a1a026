-- Every fenced script includes this: KEYS[1] is the batch, ARGV[1] the fencing token of the caller's lease.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return redis.error_reply('LEASELOST somebody else holds the lease on this batch')
end
