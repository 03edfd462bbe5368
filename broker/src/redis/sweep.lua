-- Takes over messages of ours whose lease ran out, so that the caller can put them back. Messages
-- that Python workers hold have no lease here and are never touched.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease (s), name of this sweep, max.
-- Reply: flat list of new lease member, stored value.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local seen = string.format('%.6f', now)
local expiry = string.format('%.6f', now + tonumber(ARGV[1]))
local reply = {}
local expired = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', seen, 'LIMIT', 0, tonumber(ARGV[3]))
for i, member in ipairs(expired) do
  redis.call('ZREM', KEYS[3], member)
  local tag = string.match(member, '^(.*)|[^|]*$')
  local strange = string.sub(tag, 1, 1) == '!'
  local value = redis.call('HGET', strange and KEYS[4] or KEYS[1], tag)
  if value then
    local mine = tag .. '|' .. ARGV[2] .. '.' .. i
    redis.call('ZADD', KEYS[3], expiry, mine)
    if not strange then redis.call('ZADD', KEYS[2], seen, tag) end
    reply[#reply + 1] = mine
    reply[#reply + 1] = value
  end
end
return reply
