import type { Group } from "./group.ts";
import { fitText, textWidth } from "./text.ts";

/** A caption over a group of columns. */
export interface Label {
  /** Left edge in pixels. */
  readonly x: number;
  readonly text: string;
}

/** Size of the captions in pixels. */
const LABEL_SIZE = 12;

interface Span {
  readonly group: Group;
  readonly x: number;
  readonly end: number;
}

const STRIDES: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/**
 * Makes captions for as many groups of columns as there is room for: `blk.0`, `blk.1`, …, else `blk.0` and then every
 * second, fifth or tenth number, as on an axis.
 * @param runs runs from left to right
 * @param end right edge of the last run
 */
export function placeLabels(
  runs: readonly { readonly group: Group; readonly x: number; readonly width: number }[],
  end: number,
): readonly Label[] {
  const spans = spansOf(runs, end);
  const methods = new Set(spans.map((span) => span.group.method)).size;
  const labels: Label[] = [];
  let free = Number.NEGATIVE_INFINITY;
  const put = (x: number, text: string, until: number): boolean => {
    const width = textWidth(text, LABEL_SIZE);
    if (x < free || x + width > until) return false;
    labels.push({ x, text });
    free = x + width + 6;
    return true;
  };
  for (const series of seriesOf(spans)) {
    const first = series[0];
    const last = series.at(-1);
    if (first === undefined || last === undefined) continue;
    const { method, stem, index } = first.group;
    const name = index === undefined ? stem : `${stem}.${index}`;
    const until = index === undefined ? first.end : last.end;
    const full = methods > 1 && method !== "" ? put(first.x, `${method}/${name}`, first.end) : false;
    const named = full || put(first.x, name, until) || put(first.x, shortened(name, first), first.end);
    const stride = strideOf(series);
    for (const [place, span] of series.entries()) {
      if ((place === 0 && named) || place % stride !== 0) continue;
      const number = span.group.index ?? "";
      const whole = `${stem}.${number}`;
      if (stride > 1 || !put(span.x, whole, span.end)) put(span.x, number, stride > 1 ? last.end : span.end);
    }
  }
  return labels.filter((label) => label.text !== "");
}

function spansOf(
  runs: readonly { readonly group: Group; readonly x: number; readonly width: number }[],
  end: number,
): Span[] {
  const spans: { group: Group; x: number; end: number }[] = [];
  for (const run of runs) {
    const last = spans.at(-1);
    if (last?.group.key === run.group.key) continue;
    if (last !== undefined) last.end = run.x;
    spans.push({ group: run.group, x: run.x, end });
  }
  return spans;
}

function seriesOf(spans: readonly Span[]): Span[][] {
  const series: Span[][] = [];
  for (const span of spans) {
    const last = series.at(-1);
    if (last?.[0]?.group.series === span.group.series) last.push(span);
    else series.push([span]);
  }
  return series;
}

function strideOf(series: readonly Span[]): number {
  const pitch = ((series.at(-1)?.end ?? 0) - (series[0]?.x ?? 0)) / series.length;
  const widest = Math.max(...series.map((span) => textWidth(span.group.index ?? "", LABEL_SIZE)));
  return STRIDES.find((stride) => stride * pitch >= widest + 8) ?? series.length;
}

/** Shortens a name to a span; empty if less than 36 pixels are free. */
function shortened(name: string, span: Span): string {
  const room = span.end - span.x - 4;
  return room < 36 ? "" : fitText(name, LABEL_SIZE, room);
}
