/** The messages between the page's preload script and the main process; both sides read this table. */
export const channels = {
  connect: 'vanderpool:connect',
  port: 'vanderpool:port',
  chooseFile: 'vanderpool:choose-file',
  readClipboard: 'vanderpool:read-clipboard',
} as const;
