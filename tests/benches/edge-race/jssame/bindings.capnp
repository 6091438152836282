(name = "METRICS", durableObjectNamespace = "Counts"),
(name = "RATE_LIMIT", wrapped = (moduleName = "bench:ratelimit", innerBindings = [
  (name = "limit", json = "1000000000"), (name = "period", json = "10")]))
