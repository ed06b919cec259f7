-- register makes a worker known, to others of this library and to Resque.
--
-- ARGV: prefix, instance, time to live in milliseconds, Resque's id of the
-- worker, the id that it had before or '', when it started, its heartbeat.
--
-- Returns the server's time in milliseconds.
local instance, id, former = ARGV[2], ARGV[4], ARGV[5]
local at = now()
-- A write that needs no memory comes first, so that the others may need some: a
-- full server wants workers.
call('SREM', prefix .. 'workers', '')
if former ~= '' and former ~= id then
  call('SREM', prefix .. 'workers', former)
  call('HDEL', prefix .. 'workers:heartbeat', former)
  call('DEL', prefix .. 'worker:' .. former, prefix .. 'worker:' .. former .. ':started',
    prefix .. 'stat:processed:' .. former, prefix .. 'stat:failed:' .. former)
end
call('SADD', prefix .. 'workers', id)
call('SET', prefix .. 'worker:' .. id .. ':started', ARGV[6])
call('HSET', prefix .. 'workers:heartbeat', id, ARGV[7])
call('HSET', prefix .. 'gofer:worker:' .. instance, 'id', id)
call('HDEL', prefix .. 'gofer:worker:' .. instance, 'ghost')
call('ZADD', prefix .. 'gofer:workers', at + tonumber(ARGV[3]), instance)
return at
