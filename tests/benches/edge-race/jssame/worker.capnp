durableObjectNamespaces = [ (className = "Counts", uniqueKey = "counts") ],
durableObjectStorage = (inMemory = void),
