-- tick does what time brings: it makes scheduled jobs ready, claims those whose
-- lease has ended, and finds workers that died.
--
-- ARGV: prefix, instance, time to live of the instance in milliseconds,
-- grace for a clock that promised to be here, nonce, lease of a claim, most
-- jobs, most bytes of claimed ones, the queues for which a connection of the instance waits.
--
-- A job that is claimed is lent under the token nonce:n until the caller has
-- counted its attempt and given it back.
--
-- Returns: the server's time, when the next thing happens or -1, whether this
-- instance has promised to be here then, when the one who has will, the
-- instances that died, whether this instance is still registered, when the next
-- job of resque-scheduler is due or -1 (also while a scheduler runs), the tokens
-- that the claimed jobs had before, in their order, those of the queues waited for
-- that have a job, which Redis must have told already, and then for each queue with
-- claims: its name, the number of its first job, payloads.
local instance, life, grace = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local nonce, lease, most, bytes = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local at = now()
local due, workers, alarm = prefix .. 'gofer:due', prefix .. 'gofer:workers', prefix .. 'gofer:alarm'
call('ZREMRANGEBYSCORE', prefix .. 'gofer:lost', '-inf', at - 3600000)
call('ZADD', workers, at + life, instance)

local reply = {at, -1, 0, -1, {}, 0, -1, {}, {}}
for n = 9, #ARGV do
  for _, key in ipairs({landing(instance, ARGV[n]), ready(ARGV[n])}) do
    local length = redis.pcall('LLEN', key)
    if type(length) == 'number' and length > 0 then
      reply[9][#reply[9] + 1] = ARGV[n]
      break
    end
  end
end
local claimed = 0
local function happen(name)
  local what, queue = string.sub(name, 1, 1), string.sub(name, 2)
  if most > 0 and what == 's' then
    local items = call('ZRANGEBYSCORE', later(queue), '-inf', at, 'LIMIT', 0, most)
    if #items > 0 then
      local payloads = {}
      for n, item in ipairs(items) do payloads[n] = string.sub(item, string.find(item, '\n', 1, true) + 1) end
      call('RPUSH', ready(queue), unpack(payloads))
      call('ZREM', later(queue), unpack(items))
      call('SADD', prefix .. 'queues', queue)
      most = most - #items
    end
    reindex('s', queue, later(queue))
  elseif most > 0 then
    local tokens = call('ZRANGEBYSCORE', leases(queue), '-inf', at, 'LIMIT', 0, most)
    local first, payloads, taken = claimed + 1, {}, 0
    for _, token in ipairs(tokens) do
      if bytes <= 0 then break end
      taken = taken + 1
      local payload = call('HGET', running(queue), token)
      if payload then
        claimed = claimed + 1
        bytes = bytes - #payload
        payloads[#payloads + 1] = payload
        reply[8][claimed] = token
        local claim = nonce .. ':' .. claimed
        call('HDEL', running(queue), token)
        call('HSET', running(queue), claim, payload)
        call('ZADD', leases(queue), at + lease, claim)
      end
      call('ZREM', leases(queue), token)
      call('ZADD', prefix .. 'gofer:lost', at, token)
    end
    most = most - taken
    if #payloads > 0 then
      reply[#reply + 1] = queue
      reply[#reply + 1] = first
      reply[#reply + 1] = payloads
    end
    reindex('l', queue, leases(queue))
  end
end
for _, name in ipairs(call('ZRANGEBYSCORE', due, '-inf', at, 'LIMIT', 0, 50)) do
  -- A key of the wrong type, which somebody has written by mistake, holds up
  -- nothing but its own queue.
  if not pcall(happen, name) then call('ZADD', due, at + 5000, name) end
end
reply[5] = call('ZRANGEBYSCORE', workers, '-inf', at, 'LIMIT', 0, 10)
local record = call('HMGET', prefix .. 'gofer:worker:' .. instance, 'id', 'ghost')
if record[1] and not record[2] then reply[6] = 1 end

local next
for _, key in ipairs({due, workers}) do
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and (not next or tonumber(first) < next) then next = tonumber(first) end
end
local first = redis.pcall('ZRANGE', prefix .. 'delayed_queue_schedule', 0, 0, 'WITHSCORES')[2]
if first and call('EXISTS', prefix .. prefix .. 'resque_scheduler_master_lock') == 0 then
  reply[7] = math.ceil(tonumber(first)) * 1000
  if not next or reply[7] < next then next = reply[7] end
end
local promised, who = string.match(call('GET', alarm) or '', '^(%d+) (.*)$')
promised = tonumber(promised)
if next and (who == instance or not promised or promised + grace < at or next < promised) then
  promised, who = next, instance
  call('SET', alarm, string.format('%.0f', next) .. ' ' .. instance)
elseif not next and who == instance then
  promised = nil
  call('DEL', alarm)
end
if next then reply[2] = next end
if promised then reply[4] = promised end
if promised and who == instance then reply[3] = 1 end
return reply
