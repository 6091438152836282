extensions = [( modules = [ (name = "bench:ratelimit", internal = true, esModule = embed "ratelimit.js") ] )],
