-- Renews leases, and the time in kombu's index, so that no Python worker restores the messages.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease (s), lease members.
-- Reply: per member 1, or 0 when someone else has the message now.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local seen = string.format('%.0f', math.ceil(now))
local expiry = string.format('%.0f', 1000 * (now + tonumber(ARGV[1])))
local reply = {}
for i = 2, #ARGV do
  local member = ARGV[i]
  local strange = string.byte(member) == 33
  local held = redis.call('ZSCORE', KEYS[3], member)
    and redis.call('HEXISTS', strange and KEYS[4] or KEYS[1], member) == 1
  if held then
    redis.call('ZADD', KEYS[3], expiry, member)
    if not strange then redis.call('ZADD', KEYS[2], seen, member) end
    reply[#reply + 1] = 1
  else
    redis.call('ZREM', KEYS[3], member)
    reply[#reply + 1] = 0
  end
end
return reply
