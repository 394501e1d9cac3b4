import { escapeXml } from "./text.ts";

/** A tenth of a pixel is as fine as anyone sees. */
export function round(pixels: number): string {
  return String(Math.round(pixels * 10) / 10);
}

/** A filled rectangle. */
export function rect(style: string, x: number, y: number, width: number, height: number): string {
  return `<rect class="${style}" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"/>`;
}

/** A rectangle as a part of a path, which takes a fifth of the room. */
export function box(x: number, y: number, width: number, height: number): string {
  const left = round(x);
  return `M${left} ${round(y)}H${round(x + width)}v${round(height)}H${left}z`;
}

/** A line of text, escaped; `full` is shown on pointing at it where `content` had to be shortened. */
export function text(x: number, y: number, style: string, content: string, full: string = content): string {
  const title = full === content ? "" : `<title>${escapeXml(full)}</title>`;
  return `<text x="${round(x)}" y="${round(y)}" class="${style}">${title}${escapeXml(content)}</text>`;
}
