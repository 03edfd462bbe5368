//! The Lua scripts of the redis driver. Each is one atomic step on the server's clock.

use redis::Script;

const NOW: &str = r"
local function now_us()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end
";

/// Keys: ids by time of revocation, ids by expiry (both microseconds), ids to kill. Arguments: ttl in
/// microseconds, most that are kept, then pairs of id and 1 or 0.
const REVOKE: &str = r"
local now = now_us()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
  for i = 1, 2 do redis.call('ZREM', KEYS[i], id) end
  redis.call('SREM', KEYS[3], id)
end
for i = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], now + (i - 3) / 2, ARGV[i])
  redis.call('ZADD', KEYS[2], 'GT', now + tonumber(ARGV[1]), ARGV[i])
  if ARGV[i + 1] == '1' then redis.call('SADD', KEYS[3], ARGV[i]) end
end
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])
if over > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do
    for i = 1, 2 do redis.call('ZREM', KEYS[i], id) end
    redis.call('SREM', KEYS[3], id)
  end
end
return 1
";

/// Keys: ids by expiry. Arguments: ids. Returns 1 or 0 for each.
const ARE_REVOKED: &str = r"
local now, out = now_us(), {}
local till = redis.call('ZMSCORE', KEYS[1], unpack(ARGV))
for i = 1, #ARGV do
  out[i] = (till[i] and tonumber(till[i]) > now) and 1 or 0
end
return out
";

/// Keys: as REVOKE. Arguments: most. Returns id, 1 or 0, id, …, newest first.
const REVOKED: &str = r"
local now, out = now_us(), {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
  if #out >= 2 * tonumber(ARGV[1]) then break end
  local till = redis.call('ZSCORE', KEYS[2], id)
  if till and tonumber(till) > now then
    out[#out + 1] = id
    out[#out + 1] = tostring(redis.call('SISMEMBER', KEYS[3], id))
  end
end
return out
";

/// Keys: bucket (hash). Arguments: tokens per second, size. Returns -1 if taken, else microseconds to wait.
const TAKE_TOKEN: &str = r"
local now, rate, size = now_us(), tonumber(ARGV[1]), tonumber(ARGV[2])
local old = redis.call('HMGET', KEYS[1], 'left', 'at')
local left, at = tonumber(old[1]) or size, tonumber(old[2]) or now
left = math.min(size, left + math.max(0, now - at) * rate / 1000000)
local wait = -1
if left >= 1 then left = left - 1 else wait = math.ceil((1 - left) * 1000000 / rate) end
redis.call('HSET', KEYS[1], 'left', string.format('%.9f', left), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.min(2147483647, math.ceil(size * 1000 / rate) + 1000))
return wait
";

/// Keys: holders by expiry. Arguments: limit, holder, lease in microseconds. Returns 1 if entered.
const ENTER: &str = r"
local now = now_us()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[2])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.ceil((tonumber(last[2]) - now) / 1000) + 1)
return 1
";

/// Keys: holder. Arguments: id, ttl in ms. Returns the other holder's id, or nothing.
const CLAIM: &str = r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
";

/// Keys: holder. Arguments: id.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
";

/// Keys: workers of a task (list). Arguments: worker, ttl in ms, most that are kept. Returns how many.
const COUNT_START: &str = r"
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('LLEN', KEYS[1])
";

/// Keys: entries (hash). Arguments: entry, last or nothing, now. Returns 1 if moved.
const ADVANCE: &str = r"
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
";

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) revoke: Script,
    pub(super) are_revoked: Script,
    pub(super) revoked: Script,
    pub(super) take_token: Script,
    pub(super) enter: Script,
    pub(super) claim: Script,
    pub(super) release: Script,
    pub(super) count_start: Script,
    pub(super) advance: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let timed = |code: &str| Script::new(&[NOW, code].concat());
        Self {
            revoke: timed(REVOKE),
            are_revoked: timed(ARE_REVOKED),
            revoked: timed(REVOKED),
            take_token: timed(TAKE_TOKEN),
            enter: timed(ENTER),
            claim: Script::new(CLAIM),
            release: Script::new(RELEASE),
            count_start: Script::new(COUNT_START),
            advance: Script::new(ADVANCE),
        }
    }
}
