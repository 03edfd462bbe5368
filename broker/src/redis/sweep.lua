-- Takes over messages of ours whose lease ran out, so that the caller can put them back. Messages
-- that Python workers hold have no lease here and are never touched.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease (s), name of this sweep, max.
-- Reply: flat list of new lease member, stored value.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local seen = string.format('%.0f', math.ceil(now))
local expiry = string.format('%.0f', 1000 * (now + tonumber(ARGV[1])))
local reply = {}
local until_now = string.format('%.0f', 1000 * now)
local expired = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', until_now, 'LIMIT', 0, tonumber(ARGV[3]))
for i, member in ipairs(expired) do
  redis.call('ZREM', KEYS[3], member)
  local strange = string.byte(member) == 33
  local hash = strange and KEYS[4] or KEYS[1]
  local value = redis.call('HGET', hash, member)
  if value then
    -- Under a new name: who had it cannot settle it any more.
    local mine = (strange and '!' or '') .. i .. '.' .. ARGV[2]
    redis.call('HSET', hash, mine, value)
    redis.call('HDEL', hash, member)
    redis.call('ZADD', KEYS[3], expiry, mine)
    if not strange then
      redis.call('ZREM', KEYS[2], member)
      redis.call('ZADD', KEYS[2], seen, mine)
    end
    reply[#reply + 1] = mine
    reply[#reply + 1] = value
  end
end
return reply
