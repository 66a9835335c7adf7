"""JavaScript modules that import each other."""

__all__ = ["MODULES"]

MODULES = {
    "base.js": """
export const NAME = "base";
export function double(n) {
  return 2 * n;
}
""",
    "middle.js": """
import { NAME, double as twice } from "./base.js";
export class Middle {
  text = NAME + twice(4);
}
""",
    "top.js": """
import { Middle } from "./middle.js";
import { NAME } from "./base.js";
window.total = NAME + new Middle().text;
""",
}
