-- Appends a reply to the queues that are bound with its routing key; tells how many there were.
-- One step, so that no queue is filled after its reader has removed binding and queue.
-- KEYS: binding set. ARGV: routing key, text, prefix of keys, milliseconds that a reply may lie.
local separator = '\6\22'
local sent = 0
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local key, _, queue = string.match(member, '^(.-)' .. separator .. '(.-)' .. separator .. '(.*)$')
  if key == ARGV[1] then
    redis.call('LPUSH', ARGV[3] .. queue, ARGV[2])
    redis.call('PEXPIRE', ARGV[3] .. queue, ARGV[4])
    sent = sent + 1
  end
end
return sent
