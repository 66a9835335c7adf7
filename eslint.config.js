// The rules for static/: mistakes, and features that a supported browser does not have.
import css from "@eslint/css";
import js from "@eslint/js";
import compatData from "@mdn/browser-compat-data/forLegacyNode";

/** The oldest supported versions. Firefox is the oldest ESR. */
const BROWSERS = { safari: 15, firefox: 140, chrome: 95 };

function isSupported({ __compat: compat }) {
  if (!compat) return true;
  return Object.entries(BROWSERS).every(([browser, version]) =>
    [compat.support[browser]].flat().some((support) => {
      if (support.flags || support.prefix || support.alternative_name) return false;
      return (
        parseFloat(String(support.version_added).replace("≤", "")) <= version && !(support.version_removed <= version)
      );
    }),
  );
}

const { builtins } = compatData.javascript;
const INTERFACES = { ...compatData.api, ...builtins, ...builtins.Intl };
/** The features of each name, such as `at` of arrays, strings and typed arrays. */
const MEMBERS = new Map();
for (const [name, feature] of Object.values(INTERFACES).flatMap((one) => Object.entries(one))) {
  if (name !== "__compat") MEMBERS.set(name, [...(MEMBERS.get(name) ?? []), feature]);
}

/** Methods of our own objects that have the name of a method that a browser lacks. */
const OUR_METHODS = ["capture", "show"];

/**
 * Report global names and methods that a browser lacks, by the data of MDN. The type of an object is unknown, so a method
 * is reported only if the browser has it in no interface. A call such as `crypto.randomUUID?.()` is allowed.
 */
const browsers = {
  create(context) {
    const report = (node, name) =>
      context.report({ node, message: `Safari 15, Firefox ESR or Chrome 95 has no ${name}.` });
    const isGlobal = ({ name, parent }) => {
      const { through } = context.sourceCode.scopeManager.globalScope;
      return through.some(({ identifier }) => identifier.name === name && identifier.parent === parent);
    };
    return {
      "CallExpression[optional=false] > MemberExpression.callee[property.type=Identifier]"({
        object,
        property: { name },
      }) {
        if (object.type === "ThisExpression" || OUR_METHODS.includes(name)) return;
        const known = object.type === "Identifier" && isGlobal(object) ? (INTERFACES[object.name] ?? {}) : {};
        const own = known[`${name}_static`] ?? known[name];
        const features = own ? [own] : (MEMBERS.get(name) ?? []);
        if (features.length && !features.some(isSupported)) report(object.parent.property, name);
      },
      "Program:exit"() {
        for (const { identifier } of context.sourceCode.scopeManager.globalScope.through) {
          const { name, parent } = identifier;
          if (parent.operator !== "typeof" && !isSupported(INTERFACES[name] ?? {})) report(identifier, name);
        }
      },
    };
  },
};

/** Styles that not every browser of 2021 had. */
const NEWER_STYLES = {
  // Safari 15 lacks these, and shows the pages worse.
  allowSelectors: [
    "has", // the rules with it are about places that change
    "focus-visible", // it shows its own outline
    "backdrop", // of <dialog>, which it lacks, too
  ],
  allowAtRules: ["container"],
  allowUnits: ["cqh", "cqw", "dvh"],
  allowFunctions: ["color-mix"], // under a pointer only
  allowMediaConditions: ["forced-colors"], // Windows
  allowPropertyValues: {
    "overflow-wrap": ["anywhere"], // a long word leaves its box
    overflow: ["clip"],
    "font-family": ["ui-monospace"], // others follow
  },
  allowProperties: [
    "container-type",
    "overflow-clip-margin",
    // The others are harmless where they are ignored.
    "color-scheme",
    "forced-color-adjust",
    "mask-image",
    "outline",
    "overflow-anchor",
    "overscroll-behavior",
    "content-visibility",
    "scrollbar-width",
    "text-size-adjust",
    "text-wrap",
    "user-select",
  ],
};

export default [
  {
    files: ["static/*.js"],
    languageOptions: { ecmaVersion: 2022 },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    plugins: { dog: { rules: { browsers } } },
    rules: {
      ...js.configs.recommended.rules,
      "dog/browsers": "error",
      "no-unused-vars": ["error", { ignoreRestSiblings: true }],
      "no-undef": "off", // tsc knows the names
      "no-restricted-syntax": ["error", "StaticBlock", "Literal[regex.pattern=/[(][?]<[=!]/]"], // Safari 16.4
    },
  },
  {
    files: ["static/*.css"],
    language: "css/css",
    plugins: { css },
    rules: {
      ...css.configs.recommended.rules,
      "css/no-invalid-properties": ["error", { allowUnknownVariables: true }],
      "css/no-important": "off", // inline.css and the visitor's settings overrule the rest
      "css/use-baseline": ["error", { available: 2021, ...NEWER_STYLES }], // Safari 15 is of 2021
    },
  },
];
