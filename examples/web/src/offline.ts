// Keeps what was loaded, so that the page works without a network; and sends the headers without
// which browsers allow no threads. Newer files go first wherever there is a network.
const worker = self as unknown as {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  addEventListener(kind: string, listener: (event: never) => void): void;
};

interface Waiting {
  waitUntil(work: Promise<unknown>): void;
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open("gmme-edge");
  let found: Response;
  try {
    found = await fetch(request);
    if (found.ok) await cache.put(request, found.clone());
  } catch (error) {
    const kept = await cache.match(request);
    if (!kept) throw error;
    found = kept;
  }
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

worker.addEventListener("install", (event: Waiting) => event.waitUntil(worker.skipWaiting()));
worker.addEventListener("activate", (event: Waiting) => event.waitUntil(worker.clients.claim()));
worker.addEventListener(
  "fetch",
  (event: { request: Request; respondWith(answer: Promise<Response>): void }) => {
    const own = new URL(event.request.url).origin === self.location.origin;
    if (own && event.request.method === "GET") event.respondWith(answer(event.request));
  },
);
