interface Theme {
  readonly paper: string;
  readonly ink: string;
  readonly quiet: string;
  readonly track: string;
  readonly files: string;
  readonly all: string;
  readonly some: string;
  readonly someMark: string;
  readonly variant: string;
  readonly variantMark: string;
  readonly own: string;
  readonly ownMark: string;
}

// People with any common colour blindness can tell blue from orange, and the tones also differ in lightness.
const LIGHT: Theme = {
  paper: "#fdfdfc",
  ink: "#1d2733",
  quiet: "#66717e",
  track: "#eaedf0",
  files: "#c3cad2",
  all: "#2f6291",
  some: "#a9cbe6",
  someMark: "#7aa9d0",
  variant: "#c5e0d6",
  variantMark: "#5b9a86",
  own: "#f6bd6b",
  ownMark: "#cf7f1d",
};

const DARK: Theme = {
  paper: "#14181d",
  ink: "#e6eaee",
  quiet: "#95a0ac",
  track: "#20262d",
  files: "#4a545f",
  all: "#5590c4",
  some: "#264d70",
  someMark: "#5289b6",
  variant: "#22483f",
  variantMark: "#62a892",
  own: "#b8721c",
  ownMark: "#f3b562",
};

/** The picture's style sheet. Every class begins with `tm-`, because an inline picture shares the classes of its page. */
export const PICTURE_STYLE: string = `
.tare-map{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums}
.tm-small{font-size:12px}.tm-name{font-size:14px;font-weight:600}.tm-text{font-size:13px}.tm-head{font-size:24px;font-weight:300}
.tm-strong{font-weight:650}.tm-end{text-anchor:end}
.tm-run{fill:transparent;outline:none}
${theme(LIGHT)}
@media (prefers-color-scheme:dark){
${theme(DARK)}
}`;

/** Colours of the page around the picture. */
export const PAGE_COLOURS: string = `:root{color-scheme:light dark;${pageVariables(LIGHT)}}
@media (prefers-color-scheme:dark){:root{${pageVariables(DARK)}}}`;

// Use no custom properties, which SVG viewers other than browsers do not support.
function theme(is: Theme): string {
  return `.tm-paper{fill:${is.paper}}.tm-ink{fill:${is.ink}}.tm-quiet{fill:${is.quiet}}
.tm-track{fill:${is.track}}.tm-files{fill:${is.files}}
.tm-all{fill:${is.all}}.tm-some-ground{fill:${is.some}}.tm-some-mark{fill:${is.someMark}}
.tm-variant-ground{fill:${is.variant}}.tm-variant-mark{fill:${is.variantMark}}
.tm-own-ground{fill:${is.own}}.tm-own-mark{fill:${is.ownMark}}
.tm-some{fill:url(#tm-some)}.tm-variant{fill:url(#tm-variant)}.tm-own{fill:url(#tm-own)}
.tm-run:hover,.tm-run:focus,.tm-run.tm-shown{stroke:${is.ink};stroke-width:1.5}`;
}

function pageVariables(is: Theme): string {
  return `--paper:${is.paper};--ink:${is.ink};--quiet:${is.quiet};--track:${is.track}`;
}

/** Patterns that distinguish the kinds without colour: dots, bars and hatching. */
export const PICTURE_PATTERNS: string = `<defs>
<pattern id="tm-some" width="6" height="6" patternUnits="userSpaceOnUse"><rect class="tm-some-ground" width="6" height="6"/><circle class="tm-some-mark" cx="3" cy="3" r="1"/></pattern>
<pattern id="tm-variant" width="6" height="6" patternUnits="userSpaceOnUse"><rect class="tm-variant-ground" width="6" height="6"/><rect class="tm-variant-mark" y="2" width="6" height="1.2"/></pattern>
<pattern id="tm-own" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="tm-own-ground" width="6" height="6"/><rect class="tm-own-mark" width="1.6" height="6"/></pattern>
</defs>`;
