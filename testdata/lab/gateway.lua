-- The stand-in gateway's request handling, in the phases that Kong uses too.
--
-- In:  `configuration`, the table that the lab writes from a kong.yml (tests/src/gateway/configuration.rs has its shape).
-- Out: `access`, `header_filter` and `answer_error`, called from nginx.conf.
-- Absent: everything that the lab refuses in a kong.yml, escapes and dot segments in request paths (matched as sent),
-- and error bodies in other forms than JSON.

local VERSION = "kong/3.9.1"

-- What Kong says when nginx itself made the error.
local ERRORS = {
  [400] = "Bad request", [404] = "Not found", [408] = "Request timeout", [411] = "Length required",
  [412] = "Precondition failed", [413] = "Payload too large", [414] = "URI too long", [417] = "Expectation failed",
  [494] = "Request header or cookie too large", [500] = "An unexpected error occurred",
  [502] = "An invalid response was received from the upstream server",
  [503] = "The upstream server is currently unavailable", [504] = "The upstream server is timing out",
}

local gateway = {}
local configuration

function gateway.configure(loaded)
  configuration = loaded
end

local function error_body(message)
  return '{\n  "message":"' .. message .. '",\n  "request_id":"' .. ngx.var.request_id .. '"\n}'
end

-- Ends the request with an answer of the gateway's own.
local function answer(status, message, challenge)
  local body = error_body(message)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json; charset=utf-8"
  if challenge then
    ngx.header["WWW-Authenticate"] = challenge
  end
  ngx.header["Content-Length"] = #body
  ngx.print(body)
  return ngx.exit(status)
end

-- The first entry that matches: the lab has put them in Kong's order of precedence.
local function match(host, path, method)
  for _, entry in ipairs(configuration.entries) do
    if (not entry.hosts or entry.hosts[host])
      and (not entry.methods or entry.methods[method])
      and (not entry.path or path:sub(1, #entry.path) == entry.path) then
      return entry
    end
  end
end

-- Service path and what is left of the request's path, joined by exactly one slash (path_handling v0).
local function upstream_path(base, entry, path)
  local rest = path
  if entry.strip and entry.path then
    rest = path:sub(#entry.path + 1)
  end
  if rest == "" then
    return base
  end
  if base:sub(-1) == "/" then
    return base .. rest:gsub("^/", "", 1)
  end
  return rest:sub(1, 1) == "/" and base .. rest or base .. "/" .. rest
end

-- The key that the request carries, and what takes it out of the request again.
local function find_key(auth)
  local headers, arguments = ngx.req.get_headers(), ngx.req.get_uri_args()
  for _, name in ipairs(auth.names) do
    if auth.in_header and headers[name] then
      return headers[name], function() ngx.req.clear_header(name) end
    end
    if auth.in_query and arguments[name] then
      return arguments[name], function()
        arguments[name] = nil
        ngx.req.set_uri_args(arguments)
      end
    end
  end
end

local function set_or_clear(name, value)
  if value then
    ngx.req.set_header(name, value)
  else
    ngx.req.clear_header(name)
  end
end

local function authenticate(auth)
  local key, hide = find_key(auth)
  if not key or key == "" then
    return answer(401, "No API key found in request", "Key")
  end
  if type(key) == "table" then
    return answer(401, "Duplicate API key found", "Key")
  end
  local credential = configuration.credentials[key]
  if not credential then
    return answer(401, "Unauthorized", "Key")
  end
  if auth.hide then
    hide()
  end
  set_or_clear("X-Consumer-ID", credential.consumer_id)
  set_or_clear("X-Consumer-Custom-ID", credential.custom_id)
  set_or_clear("X-Consumer-Username", credential.username)
  set_or_clear("X-Credential-Identifier", credential.id)
  ngx.req.clear_header("X-Anonymous-Consumer")
end

function gateway.access()
  local var = ngx.var
  local path = var.request_uri:match("^[^?]*")
  local entry = match(var.host, path, ngx.req.get_method())
  if not entry then
    return answer(404, "no Route matched with those values")
  end
  if entry.auth then
    authenticate(entry.auth)
  end

  local service = entry.service
  local uri = upstream_path(service.path, entry, path)
  if var.is_args == "?" then
    uri = uri .. "?" .. (var.args or "")
  elseif var.request_uri:sub(-1) == "?" then
    uri = uri .. "?"
  end
  var.upstream_uri = uri
  var.upstream_scheme = service.scheme
  var.upstream_name = service.upstream
  var.upstream_host = entry.preserve_host and (var.http_host or service.host) or service.host
  var.forwarded_path = path
  if entry.strip and entry.path and entry.path ~= "/" then
    var.forwarded_prefix = entry.path
  end
  local version = ngx.req.http_version()
  local via = (version == 1.1 and "1.1 " or version == 2 and "2 " or "1 ") .. VERSION
  var.forwarded_via = var.http_via and var.http_via .. ", " .. via or via
  ngx.update_time()
  var.proxied_at = ngx.now()
end

local function milliseconds(seconds)
  return math.max(0, math.floor(seconds * 1000 + 0.5))
end

function gateway.header_filter()
  ngx.update_time()
  local header, proxied_at = ngx.header, tonumber(ngx.var.proxied_at)
  if proxied_at then
    local made_here = ngx.var.made_here == "1"
    if not made_here and not header["Server"] then
      header["Server"] = VERSION
    end
    header["X-Kong-Upstream-Latency"] = milliseconds(ngx.now() - proxied_at)
    header["X-Kong-Proxy-Latency"] = milliseconds(proxied_at - ngx.req.start_time())
    local via = header["Via"]
    header["Via"] = via and via .. ", 1.1 " .. VERSION or "1.1 " .. VERSION
    if made_here then
      header["Server"] = VERSION
    end
  else
    header["X-Kong-Response-Latency"] = milliseconds(ngx.now() - ngx.req.start_time())
    header["Server"] = VERSION
  end
  header["X-Kong-Request-Id"] = ngx.var.request_id
end

-- nginx made an error (502, 504, 413, …) and was sent here by error_page.
function gateway.answer_error()
  ngx.var.made_here = "1"
  local body = error_body(ERRORS[ngx.status] or "An unexpected error occurred")
  ngx.header["Content-Type"] = "application/json; charset=utf-8"
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

return gateway
