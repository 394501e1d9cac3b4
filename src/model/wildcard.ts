/**
 * Whether a complete name matches a pattern: `*` stands for any characters, `?` for one. Takes linear time in the name
 * for each star.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  let at = 0;
  let next = 0;
  let star = -1;
  let from = 0;
  while (at < name.length) {
    if (pattern[next] === "*") {
      star = next++;
      from = at;
    } else if (pattern[next] === "?" || pattern[next] === name[at]) {
      next++;
      at++;
    } else if (star >= 0) {
      next = star + 1;
      at = ++from;
    } else return false;
  }
  while (pattern[next] === "*") next++;
  return next === pattern.length;
}
