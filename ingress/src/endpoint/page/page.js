SwaggerUIBundle({
  dom_id: "#api",
  url: "../openapi.json",
  // The standalone layout would add a top bar with the library's name.
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  // The validator would send the page's address to a server on the internet.
  validatorUrl: null,
});
