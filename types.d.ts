// The types that several scripts of static/ use. The scripts cannot import them: a bundle understands no other import.

type Photo = import("./static/dog-client.js").Photo;
type Role = import("./static/dog-client.js").Role;
type Speech = import("./static/speech.js").Speech;
type Strip = import("./static/strip.js").Strip;
type DogEvents = import("./static/dog-client.js").DogEvents;
type CameraStatus = import("./static/dog-client.js").CameraStatus;

/** The `data-` attributes that the templates always write where a script reads them. */
interface DOMStringMap {
  bytes: string;
  camera: string;
  capture: string;
  captured_at: string;
  day: string;
  drawing: string;
  link: string;
  now: string;
  page: string;
  root: string;
  snapshot: string;
  url: string;
}

/** The elements that the scripts find by their ids. */
interface PageElements {
  about: HTMLElement;
  actions: HTMLElement;
  album: HTMLElement;
  badge: HTMLElement;
  "badge-text": HTMLElement;
  booth: HTMLElement;
  bytes: HTMLElement;
  cameras: HTMLElement | null;
  choice: HTMLFormElement;
  copy: HTMLButtonElement;
  "copy-label": HTMLElement;
  delete: HTMLAnchorElement | null;
  dismiss: HTMLButtonElement;
  enlarge: HTMLButtonElement;
  "for-capture": HTMLTemplateElement | null;
  frame: HTMLElement;
  "full-size": HTMLDialogElement;
  keep: HTMLAnchorElement;
  "link-field": HTMLInputElement;
  live: HTMLAnchorElement;
  "live-view": HTMLButtonElement;
  "log-in-again": HTMLAnchorElement;
  newer: HTMLAnchorElement | null;
  newest: HTMLButtonElement;
  "newest-label": HTMLElement;
  none: HTMLElement;
  notice: HTMLElement;
  "notice-text": HTMLElement;
  older: HTMLAnchorElement | null;
  open: HTMLAnchorElement;
  out: HTMLElement | null;
  pin: HTMLButtonElement | null;
  press: HTMLFormElement;
  quality: HTMLElement;
  reduce: HTMLButtonElement;
  share: HTMLAnchorElement | null;
  shutter: HTMLButtonElement;
  speech: HTMLElement;
  status: HTMLElement;
  strip: HTMLElement;
  "strip-list": HTMLElement;
  viewers: HTMLElement;
  video: HTMLElement;
  viewfinder: HTMLElement;
  "viewfinder-text": HTMLElement;
  when: HTMLElement;
  whose: HTMLElement;
  zone: HTMLElement;
}

/** What lost.js loads again. */
type PageFile = HTMLScriptElement | HTMLLinkElement | HTMLImageElement;

/** A page of the gallery, fetched from the server. */
interface Fetched {
  page: Document;
  tiles: Element[];
  older: HTMLAnchorElement | null;
}

/** A photo of the live page, with the fields that its server's page has, too. */
type Snapshot = Pick<
  Photo,
  | "camera"
  | "capture"
  | "snapshot"
  | "url"
  | "page"
  | "thumbnail"
  | "captured_at"
  | "width"
  | "height"
  | "bytes"
  | "content_type"
  | "color"
> & { quality?: Photo["quality"] | null };

/** What the live page shows before the first photo. */
type Drawing = Pick<Snapshot, "snapshot" | "url">;

/** A camera of the live page. Times are in ms. */
interface Camera {
  name: string;
  state: "idle" | "capturing" | "offline";
  deadTime: number;
  readyAt: number;
  capture: number | null;
  since: number | null;
  reason: string | null;
  preview: boolean;
}

interface CameraPhase {
  phase: Camera["state"] | "cooling" | "unknown";
  left: number;
  share: number;
}

/** The visitor's press on the live page. Before the first `hello`, it waits without an epoch. */
interface Press {
  request: string;
  camera: string | null;
  epoch: number | null;
  at: number;
  outcome: Reply["outcome"] | null;
  capture: number | null;
  startsAt: number | null;
}

/** The state of the live page (state.js). */
interface State {
  connection: { state: "connecting" | "live" | "lost" | "refused"; since: number; code: number | null };
  epoch: number | null;
  seq: number;
  viewers: number | null;
  cameras: Record<string, Camera>;
  camera: string | null;
  photos: Snapshot[];
  name: string;
  role: Role | null;
  stripLength: number;
  complete: boolean;
  shown: Snapshot | null;
  live: boolean;
  video: { state: "live" | "stale" | "lost"; since: number };
  seen: boolean;
  following: boolean;
  unseen: number;
  own: string[];
  wanted: string | null;
  missed: boolean;
  press: Press | null;
  notice: { kind: string; text: string; camera?: string } | null;
}

interface Reply {
  request: string;
  outcome: "started" | "joined" | "queued" | "cached";
  capture: number;
  snapshot: string;
  retry_after?: number;
}

/** The server's messages that change the state, by type. */
interface Messages extends Pick<DogEvents, "hello" | "viewers" | "capturing" | "ready" | "failed" | "removed"> {
  camera: DogEvents["camera"] & { state: CameraStatus["state"] };
  reply: Reply;
  error: { code: string; message: string; request?: string };
}

type MessageHandlers = {
  [Type in keyof Messages]: (state: State, message: Messages[Type], now: number) => State;
};

/** What else changes the state, with its arguments. */
interface Actions {
  lost: {};
  refused: { code: number | null };
  press: { request: string };
  live: { on: boolean };
  video: { state: State["video"]["state"]; age: number };
  seen: { seen: boolean };
  complete: { complete: boolean };
  unsent: {};
  photos: { photos: Snapshot[]; asked?: number };
  show: { snapshot: string };
  walk: { by: 1 | -1 };
  newest: {};
  dismiss: {};
}

type Action = { [Act in keyof Actions]: { act: Act } & Actions[Act] }[keyof Actions];

type ActionHandlers = {
  [Act in keyof Actions]: (state: State, action: Actions[Act], now: number) => State;
};
