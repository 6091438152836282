-- The rule of docs/webhooks.md ("Signature", "Modes", "Verdicts") once more, in plain Lua: SHA-256 after
-- FIPS 180-4, HMAC after RFC 2104, and no code of the project.

local bit = require "bit"
local band, bnot, bxor = bit.band, bit.bnot, bit.bxor
local ror, rshift, tobit = bit.ror, bit.rshift, bit.tobit
local byte, char = string.byte, string.char

local WINDOW_SECONDS = 300
local MAX_DIGITS = 19
local BLOCK_BYTES = 64

-- The first 32 bits of a number's fraction.
local function fraction(number)
  return tobit(math.floor((number % 1) * 2 ^ 32))
end

-- FIPS 180-4, 4.2.2 and 5.3.3: of the cube roots of the first 64 primes, of the square roots of the first 8.
local K, INITIAL = {}, {}
do
  local candidate = 2
  while #K < 64 do
    local is_prime = true
    for divisor = 2, candidate - 1 do
      if candidate % divisor == 0 then is_prime = false end
    end
    if is_prime then
      K[#K + 1] = fraction(candidate ^ (1 / 3))
      if #INITIAL < 8 then INITIAL[#INITIAL + 1] = fraction(math.sqrt(candidate)) end
    end
    candidate = candidate + 1
  end
end

local function bytes_of(word)
  return char(band(rshift(word, 24), 255), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

local function sha256(message)
  local bits = #message * 8
  local zeros = (55 - #message) % BLOCK_BYTES
  -- 5.1.1: a one, zeros, and the length in bits as 64 bits.
  message = message .. "\128" .. ("\0"):rep(zeros) .. bytes_of(math.floor(bits / 2 ^ 32)) .. bytes_of(tobit(bits))
  local h1, h2, h3, h4, h5, h6, h7, h8 = unpack(INITIAL)
  local w = {}
  for block = 1, #message, BLOCK_BYTES do
    for t = 1, 16 do
      local at = block + (t - 1) * 4
      local b1, b2, b3, b4 = byte(message, at, at + 3)
      w[t] = tobit(b1 * 2 ^ 24 + b2 * 2 ^ 16 + b3 * 2 ^ 8 + b4)
    end
    for t = 17, 64 do
      local x, y = w[t - 15], w[t - 2]
      local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
      local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      w[t] = tobit(w[t - 16] + s0 + w[t - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = h1, h2, h3, h4, h5, h6, h7, h8
    for t = 1, 64 do
      local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      local choice = bxor(band(e, f), band(bnot(e), g))
      local t1 = tobit(h + s1 + choice + K[t] + w[t])
      local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      local majority = bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e = g, f, e, tobit(d + t1)
      d, c, b, a = c, b, a, tobit(t1 + s0 + majority)
    end
    h1, h2, h3, h4 = tobit(h1 + a), tobit(h2 + b), tobit(h3 + c), tobit(h4 + d)
    h5, h6, h7, h8 = tobit(h5 + e), tobit(h6 + f), tobit(h7 + g), tobit(h8 + h)
  end
  return bytes_of(h1) .. bytes_of(h2) .. bytes_of(h3) .. bytes_of(h4)
    .. bytes_of(h5) .. bytes_of(h6) .. bytes_of(h7) .. bytes_of(h8)
end

local function each_byte_with(text, mask)
  return (text:gsub(".", function(one) return char(bxor(byte(one), mask)) end))
end

local function hmac_sha256_hex(key, message)
  if #key > BLOCK_BYTES then key = sha256(key) end
  key = key .. ("\0"):rep(BLOCK_BYTES - #key)
  local inner = sha256(each_byte_with(key, 0x36) .. message)
  local mac = sha256(each_byte_with(key, 0x5c) .. inner)
  return (mac:gsub(".", function(one) return ("%02x"):format(byte(one)) end))
end

-- "The timestamp is seconds since 1970, 1 to 19 digits; exactly 300 s away is inside."
local function is_fresh(timestamp, now)
  if not timestamp or #timestamp > MAX_DIGITS or not timestamp:find("^[0-9]+$") then return false end
  -- A number so large that it is rounded is far from now, rounded or not.
  return math.abs(tonumber(timestamp, 10) - now) <= WINDOW_SECONDS
end

local function is_signed(secrets, timestamp, signature, body)
  if not signature or #signature ~= 64 or not signature:find("^[0-9a-fA-F]+$") then return false end
  for _, secret in ipairs(secrets) do
    if hmac_sha256_hex(secret, timestamp .. "." .. body) == signature:lower() then return true end
  end
  return false
end

-- What becomes of a webhook: the answer's status in `enforce`, the verdict in the other modes.
local function judge(connection, timestamp, signature, body, now)
  if connection.mode == "off" then return "unsigned" end
  local is_enforced = connection.mode == "enforce"
  if not is_fresh(timestamp, now) then return is_enforced and "timestamp_out_of_window" or "stale" end
  if not is_signed(connection.secrets, timestamp, signature, body) then
    return is_enforced and "hmac_invalid" or "invalid"
  end
  return is_enforced and "accepted" or "verified"
end

-- The values of a header, as its lines have them. nginx's own list of headers has left out some by now.
local function values_of(name)
  local values = {}
  for line in ngx.req.raw_header(true):gmatch("([^\n]*)\n") do
    local found, value = line:match("^([^:]*):[ \t]*(.-)[ \t]*\r?$")
    if found and found:lower() == name then values[#values + 1] = value end
  end
  return values
end

-- Nothing if it is absent, or malformed by being sent twice.
local function only_value_of(name)
  local values = values_of(name)
  return #values == 1 and values[1] or nil
end

local connections = {}
local rule = {}

-- A line is a token, a mode, and the secrets in hex, all with a space between.
function rule.read_connections(path)
  for line in io.lines(path) do
    local token, mode, secrets = line:match("^(%S+) (%S+) ?(.*)$")
    local connection = { mode = mode, secrets = {} }
    for hex in secrets:gmatch("%x+") do
      local secret = hex:gsub("..", function(pair) return char(tonumber(pair, 16)) end)
      connection.secrets[#connection.secrets + 1] = secret
    end
    connections[token] = connection
  end
end

function rule.answer()
  ngx.req.read_body()
  -- nginx's clock stands still while it works.
  ngx.update_time()
  local connection = connections[ngx.var.uri:match("[^/]*$")]
  local timestamp = only_value_of("x-pancake-timestamp")
  local signature = only_value_of("x-pancake-signature")
  local status = judge(connection, timestamp, signature, ngx.req.get_body_data() or "", ngx.time())
  ngx.print('{"status":"' .. status .. '"}')
end

return rule
