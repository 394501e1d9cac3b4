/** Endings of names that belong to no public host (RFC 6761, RFC 6762, RFC 8375, and the reserved `internal`). */
const LOCAL_NAMES = ["localhost", "local", "internal", "home.arpa"];

/** IPv4 blocks that are no public host: first address, and number of leading bits. */
const LOCAL_BLOCKS: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8], // unspecified
  ["10.0.0.0", 8],
  ["100.64.0.0", 10], // carriers' NAT
  ["127.0.0.0", 8], // loopback
  ["169.254.0.0", 16], // link-local
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4], // multicast
  ["240.0.0.0", 4], // reserved, and broadcast
];

/**
 * Whether a URL names a host of this machine or of its own network: a loopback, link-local, private, unspecified, multicast or
 * reserved address, or a name that is reserved for such hosts. Does not look up names.
 */
export function isLocalHost(url: URL): boolean {
  const host = url.hostname.replace(/\.$/, "").toLowerCase();
  if (host.startsWith("[")) return isLocalV6(groupsOf(host.slice(1, -1)));
  // URL writes each form of an IPv4 address (decimal, octal, hexadecimal, short) as four decimal numbers.
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return isLocalV4(numberOf(host));
  return !host.includes(".") || LOCAL_NAMES.some((name) => host.endsWith(`.${name}`));
}

function isLocalV4(address: number): boolean {
  return LOCAL_BLOCKS.some(([first, bits]) => {
    const size = 2 ** (32 - bits);
    return Math.floor(address / size) === Math.floor(numberOf(first) / size);
  });
}

function isLocalV6(groups: readonly number[]): boolean {
  const [a = 0, b = 0, c = 0] = groups;
  const startsWithZeros = (count: number): boolean => groups.slice(0, count).every((group) => group === 0);
  // IPv4 in IPv6: compatible (with :: and ::1), mapped, translated (NAT64), 6to4.
  if (startsWithZeros(6)) return isLocalV4(inside(groups, 6)) || groups[6] === 0;
  if (startsWithZeros(5) && groups[5] === 0xffff) return isLocalV4(inside(groups, 6));
  if (startsWithZeros(4) && groups[4] === 0xffff) return isLocalV4(inside(groups, 6));
  if (a === 0x64 && b === 0xff9b) return c === 1 || isLocalV4(inside(groups, 6));
  if (a === 0x2002) return isLocalV4(inside(groups, 1));
  // Link-local fe80::/10 and the old site-local fec0::/10, unique local fc00::/7, multicast ff00::/8.
  return (a & 0xff80) === 0xfe80 || (a & 0xfe00) === 0xfc00 || (a & 0xff00) === 0xff00;
}

function inside(groups: readonly number[], at: number): number {
  return (groups[at] as number) * 0x10000 + (groups[at + 1] as number);
}

function numberOf(dotted: string): number {
  return dotted.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** The eight groups of an IPv6 address as URL writes it: hexadecimal, with one `::` at most. */
function groupsOf(text: string): number[] {
  const [head = "", tail] = text.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const [before, after] = [parse(head), parse(tail ?? "")];
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}
