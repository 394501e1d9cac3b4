import { PAGE_COLOURS } from "./style.ts";

/** The page's style sheet. */
export const PAGE_STYLE: string = `
${PAGE_COLOURS}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1248px;margin:0 auto;padding:32px 24px 64px}
header,#details,.scroll{margin-inline:32px}
h1{margin:0;font-size:15px;font-weight:400;color:var(--quiet)}
.lead{margin:4px 0 20px;font-size:28px;font-weight:300;line-height:1.25}
.lead strong{font-weight:650}
figure{margin:0;overflow-x:auto}
figure svg{display:block;width:100%;min-width:880px;height:auto}
#details{position:sticky;bottom:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(18em,1fr));gap:4px 32px;align-content:start;min-height:7.5em;padding:12px 0;border-top:1px solid var(--track);background:var(--paper);overflow-wrap:anywhere}
#details p{margin:0}
#details .hint,#details div:first-child p+p{color:var(--quiet)}
#details div:first-child p:first-child{font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin-top:16px;min-width:640px}
td{white-space:nowrap}
th,td{padding:6px 0 6px 32px;text-align:right;font-weight:400;border-top:1px solid var(--track)}
th:first-child{padding-left:0;text-align:left;max-width:24em;overflow-wrap:anywhere}
thead th{border:0;color:var(--quiet);font-size:13px}
tbody th{font-weight:600}
tfoot th,tfoot td{color:var(--quiet)}
@media (max-width:700px){main{padding-inline:8px}header,#details,.scroll{margin-inline:12px}}
`;

/**
 * The page's script. Shows the description of a column below the picture, since browsers show titles late. One column is
 * in the tab order, and the arrow keys move to the others. Without scripts, browsers show the titles.
 */
export const PAGE_SCRIPT: string = `
(() => {
  const svg = document.querySelector("svg.tare-map");
  const details = document.getElementById("details");
  if (!svg || !details) return;
  const runs = [...svg.querySelectorAll(".tm-run")];
  const lines = new Map();
  let shown;
  // Move the title of the picture to a label, because its tooltip would appear everywhere.
  const name = svg.querySelector("title");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", name.textContent);
  svg.removeAttribute("aria-labelledby");
  name.remove();
  for (const run of runs) {
    const title = run.querySelector("title");
    lines.set(run, title.textContent.split("\\n\\n"));
    run.setAttribute("role", "img");
    run.setAttribute("aria-label", title.textContent);
    run.setAttribute("tabindex", run === runs[0] ? "0" : "-1");
    title.remove();
  }
  const show = (run) => {
    if (!run || run === shown) return;
    shown?.classList.remove("tm-shown");
    run.classList.add("tm-shown");
    shown = run;
    details.replaceChildren(...lines.get(run).map((part) => {
      const div = document.createElement("div");
      div.append(...part.split("\\n").map((line) => {
        const p = document.createElement("p");
        p.textContent = line;
        return p;
      }));
      return div;
    }));
  };
  svg.addEventListener("pointerover", (event) => show(event.target.closest(".tm-run")));
  svg.addEventListener("focusin", (event) => show(event.target.closest(".tm-run")));
  svg.addEventListener("keydown", (event) => {
    const at = runs.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: runs.length - 1 }[event.key];
    const next = runs[to];
    if (at < 0 || !next) return;
    event.preventDefault();
    runs[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
})();
`;
