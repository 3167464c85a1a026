-- Callback queues that may hold unread replies stand in a sorted set by the time (ms, the store's clock) at which these
-- expire. The store's own expiry comes a day later: until then whoever ticks counts them and deletes the queue.
-- The expiry of the queue itself says until when it was last prolonged; readers prolong it and never write the set.
local LONGER_S = 86400

local function clock_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

-- The name that requests share, or nil for a request's own queue (its name has a lane in it) and for any other key.
local function shared_name(queue)
  return string.match(queue, '^batchline:reply:([^:]+)$') or string.match(queue, '^batchline:replies:([^:]+)$')
end

-- A request's own queue is noted with the time of its last push; a shared one once: its time is put right when it comes.
local function note_unread(unread, queue, ms)
  local score = string.format('%.0f', ms)
  if shared_name(queue) then
    redis.call('ZADD', unread, 'NX', score, queue)
  else
    redis.call('ZADD', unread, score, queue)
  end
end
