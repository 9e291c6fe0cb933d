declare module 'lz4js'
declare module 'snappyjs'
declare module 'crc-32/crc32c.js'
