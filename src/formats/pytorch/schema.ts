/** First bytes of files before PyTorch 1.6, a pickled number: they are not archives. */
export const LEGACY_MAGIC: Uint8Array = Uint8Array.from([
  0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20,
]);
/** The name of the pickle in a checkpoint's archive, in the archive's one folder. */
export const PICKLE_NAME: RegExp = /^[^/]+\/data\.pkl$/;
