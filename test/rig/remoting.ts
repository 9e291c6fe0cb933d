import { connect } from 'node:net'

/**
 * Asks a RocketMQ name server or broker one question in its remoting protocol and resolves to what it says; rejects when it does not answer.
 * Frame: u32 length · u32 length of the header · header in JSON · body.
 */
export function askRemoting(
  port: number,
  code: number,
  fields: Readonly<Record<string, string>> = {},
  body = '',
): Promise<{ code: number; fields: Record<string, string>; body: string }> {
  return new Promise((resolve, reject) => {
    const header = Buffer.from(
      JSON.stringify({ code, language: 'OTHER', version: 477, opaque: 1, flag: 0, extFields: fields, serializeTypeCurrentRPC: 'JSON' }),
    )
    const lengths = Buffer.alloc(8)
    lengths.writeUInt32BE(4 + header.length + Buffer.byteLength(body), 0)
    lengths.writeUInt32BE(header.length, 4)
    let come = Buffer.alloc(0)
    const socket = connect(port, '127.0.0.1', () => socket.write(Buffer.concat([lengths, header, Buffer.from(body)])))
    socket.setTimeout(2000, () => socket.destroy(new Error('no answer within 2 s')))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the connection was closed')))
    socket.on('data', (data) => {
      come = Buffer.concat([come, data])
      if (come.length < 4 || come.length < 4 + come.readUInt32BE(0)) return
      const end = 8 + (come.readUInt32BE(4) & 0xffffff)
      const { code, extFields = {} } = JSON.parse(come.toString('utf8', 8, end)) as { code: number; extFields?: Record<string, string> }
      resolve({ code, fields: extFields, body: come.toString('utf8', end, 4 + come.readUInt32BE(0)) })
      socket.destroy()
    })
  })
}
