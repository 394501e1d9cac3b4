/** Lengths of the fixed parts of an archive's records, in bytes. Source: APPNOTE.TXT 6.3.10, section 4.3. */
export const ZIP_BYTES = {
  end: 22,
  locator: 20,
  end64: 56,
  central: 46,
  local: 30,
  comment: 65_535,
} as const;

/** First bytes of records. */
export const ZipSignature = {
  end: 0x06054b50,
  locator: 0x07064b50,
  end64: 0x06064b50,
  central: 0x02014b50,
  local: 0x04034b50,
  descriptor: 0x08074b50,
} as const;

/** Method of uncompressed entries. */
export const STORED = 0;
/** The only other method that tare reads. */
export const DEFLATED = 8;
/** Id of the extra field for sizes over 32 bits. */
export const ZIP64 = 1;
/** Marks a number that does not fit 16 bits. */
export const FULL16 = 0xffff;
/** Marks a number that does not fit 32 bits. */
export const FULL32 = 0xffffffff;
