-- Removes reserved messages for good.
-- KEYS: unacked, unacked_index, leases, unreadable. ARGV: lease members.
-- Reply: per member 1, or 0 when the lease is gone (someone else has the message now).
local owned, strange, reply, seen = {}, {}, {}, {}
local expiries = redis.call('ZMSCORE', KEYS[3], unpack(ARGV))
redis.call('ZREM', KEYS[3], unpack(ARGV))
for i, member in ipairs(ARGV) do
  reply[i] = expiries[i] and not seen[member] and 1 or 0
  seen[member] = true
  if reply[i] == 1 then
    local tag = string.match(member, '^(.*)|[^|]*$')
    if string.sub(tag, 1, 1) == '!' then
      strange[#strange + 1] = tag
    else
      owned[#owned + 1] = tag
    end
  end
end
if #owned > 0 then
  redis.call('HDEL', KEYS[1], unpack(owned))
  redis.call('ZREM', KEYS[2], unpack(owned))
end
if #strange > 0 then redis.call('HDEL', KEYS[4], unpack(strange)) end
return reply
