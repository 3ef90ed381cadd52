SwaggerUIBundle({
  dom_id: "#api",
  url: "../openapi.json",
  // Without the standalone layout, which has a top bar with another name.
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  // It would send the page's address to a server on the internet.
  validatorUrl: null,
});
