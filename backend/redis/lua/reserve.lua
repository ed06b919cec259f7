-- reserve lends ready jobs, those of the first queues first.
--
-- ARGV: prefix, instance, nonce, tries, max, lease in milliseconds, most bytes,
-- number of queues, the queues, number of landed queues, those queues.
--
-- tries is how many calls with this nonce were made before, none of which was
-- answered. When one of them has come through, its jobs are returned once more.
-- One may also come through after this one: so each has tokens of its own, lest
-- it write its jobs over those of another. The token of the n-th job is
-- nonce.tries:n.
--
-- Returns: whether all queues are paused, those of the queues that are, the
-- queues behind * if nothing was taken, what the tokens begin with, and then for
-- each queue that gave any: its name, the number of its first job, the payloads.
local instance, nonce, tries = ARGV[2], ARGV[3], tonumber(ARGV[4])
local room, lease, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local queues, argument = {}, 9
local all = false
local named = {}
for _ = 1, tonumber(ARGV[8]) do
  if ARGV[argument] == '*' then
    all = true
  elseif not named[ARGV[argument]] then
    named[ARGV[argument]] = true
    queues[#queues + 1] = ARGV[argument]
  end
  argument = argument + 1
end
local others = {}
if all then
  for _, queue in ipairs(call('SMEMBERS', prefix .. 'queues')) do
    if not named[queue] then others[#others + 1] = queue end
  end
  table.sort(others)
  for _, queue in ipairs(others) do queues[#queues + 1] = queue end
end

-- A call that begins with a write that needs no memory may go on to writes
-- that do: a full server must let go of its jobs.
call('HDEL', running(''), '')
for _ = 1, tonumber(ARGV[argument]) do
  argument = argument + 1
  back(instance, ARGV[argument])
end

local reply = {0, {}, {}, ''}
for earlier = tries - 1, 0, -1 do
  reply[4] = nonce .. '.' .. earlier
  local tokens = {}
  for n = 1, room do tokens[n] = reply[4] .. ':' .. n end
  for _, queue in ipairs(queues) do
    for n, payload in ipairs(call('HMGET', running(queue), unpack(tokens))) do
      if payload then
        reply[#reply + 1] = queue
        reply[#reply + 1] = n
        reply[#reply + 1] = {payload}
      end
    end
  end
  if #reply > 4 then return reply end
end
nonce = nonce .. '.' .. tries
reply[4] = nonce

if call('GET', prefix .. 'pause-all-workers') == 'true' then
  reply[1] = 1
  return reply
end
local paused = {}
for _, queue in ipairs(call('SMEMBERS', prefix .. 'gofer:paused')) do paused[queue] = true end

-- A key of the wrong type, which somebody has written by mistake, is the error of
-- its own queue: the jobs of others that were taken before are not to be lost
-- with it, nor those behind it to be held up.
local failure
local function done(result)
  if type(result) ~= 'table' or not result.err then return true end
  failure = result
  return false
end

local taken, ends = 0, now() + lease
for _, queue in ipairs(queues) do
  if paused[queue] then
    reply[2][#reply[2] + 1] = queue
  elseif room > 0 and bytes > 0 then
    -- The first payload tells how many of its kind fit.
    local head = redis.pcall('LINDEX', ready(queue), 0)
    if head and done(head) then
      local want = math.min(room, math.max(1, math.floor(bytes / #head)))
      local payloads = call('LRANGE', ready(queue), 0, want - 1)
      local held, terms = {}, {}
      for n, payload in ipairs(payloads) do
        if bytes <= 0 then
          payloads[n] = nil
        else
          bytes = bytes - #payload
          local token = nonce .. ':' .. (taken + n)
          held[2 * n - 1], held[2 * n] = token, payload
          terms[2 * n - 1], terms[2 * n] = ends, token
        end
      end
      local count = #held / 2
      for n = #payloads, count + 1, -1 do payloads[n] = nil end
      if done(redis.pcall('HSET', running(queue), unpack(held))) then
        if done(redis.pcall('ZADD', leases(queue), unpack(terms))) then
          call('LTRIM', ready(queue), count, -1)
          expect('l', queue, ends)
          reply[#reply + 1] = queue
          reply[#reply + 1] = taken + 1
          reply[#reply + 1] = payloads
          taken, room = taken + count, room - count
        else
          for n = 1, #held, 2 do call('HDEL', running(queue), held[n]) end
        end
      end
    end
  end
end
if taken == 0 and failure then return failure end
if taken == 0 then reply[3] = others end
return reply
