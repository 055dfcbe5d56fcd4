/** The page that a browser sees which may not come in. It has no script, style or picture: nothing is served to strangers. */
export const refusalPage = (message: string): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Mobula</title></head>
<body><main><h1>Mobula: this page needs a link</h1>
<p>${escapeHtml(message)}.</p>
<p>Run <code>mobula dashboard</code> on a machine of the cluster, and open the link that it prints. Each link is good once, within ten minutes.</p>
</main></body></html>
`;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
