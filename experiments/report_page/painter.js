// Draws one textured mesh with WebGL 2, as a camera of gan3d sees it.

const MODES = { texture: 0, clay: 1, normals: 2, wireframe: 3 };
const CLAY = [0.8, 0.77, 0.73];
const INK = [0.13, 0.16, 0.21];

const MESH_VERTEX = `#version 300 es
  in vec3 position;
  in vec3 normal;
  in vec2 uv;
  uniform mat3 cameraFromWorld;
  uniform float eye;    // distance of the camera from the origin
  uniform float focal;  // in halves of the picture's height
  uniform vec2 depths;  // nearest and farthest
  out vec3 cameraNormal;
  out vec2 textureUv;
  out vec3 corner;      // barycentric coordinates
  void main() {
    corner = vec3(gl_VertexID % 3 == 0, gl_VertexID % 3 == 1, gl_VertexID % 3 == 2);
    vec3 p = cameraFromWorld * position + vec3(0.0, 0.0, eye);
    cameraNormal = cameraFromWorld * normal;
    textureUv = uv;
    float near = depths.x, far = depths.y;
    float z = ((far + near) * p.z - 2.0 * far * near) / (far - near);
    gl_Position = vec4(focal * p.x, -focal * p.y, z, p.z);  // on the screen y is up
  }`;

const MESH_FRAGMENT = `#version 300 es
  precision highp float;
  in vec3 cameraNormal;
  in vec2 textureUv;
  in vec3 corner;
  uniform sampler2D picture;
  uniform vec3 clay;
  uniform vec3 ink;
  uniform int mode;
  uniform bool shaded;
  out vec4 color;
  void main() {
    vec3 n = normalize(cameraNormal);
    if (mode == ${MODES.normals}) { color = vec4(0.5 + 0.5 * vec3(n.x, -n.y, -n.z), 1.0); return; }
    vec3 base = mode == ${MODES.texture} ? texture(picture, textureUv).rgb : clay;
    float key = max(dot(n, normalize(vec3(-0.5, -0.65, -0.75))), 0.0);
    float fill = max(dot(n, normalize(vec3(0.8, 0.1, -0.4))), 0.0);
    float light = shaded ? 0.48 + 0.6 * key + 0.14 * fill : 1.0;
    color = vec4(min(base * light, 1.0), 1.0);
    if (mode != ${MODES.wireframe}) return;
    vec3 inside = smoothstep(vec3(0.0), fwidth(corner), corner);
    color.rgb = mix(ink, color.rgb, min(inside.x, min(inside.y, inside.z)));
  }`;

// One triangle over the whole view; the background pans against the camera.
const BACKGROUND_VERTEX = `#version 300 es
  uniform vec2 centre;
  uniform float size;
  out vec2 textureUv;
  void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    textureUv = centre + 0.5 * size * vec2(corner.x, -corner.y);
    gl_Position = vec4(corner, 0.0, 1.0);
  }`;

const BACKGROUND_FRAGMENT = `#version 300 es
  precision highp float;
  in vec2 textureUv;
  uniform sampler2D picture;
  out vec4 color;
  void main() { color = vec4(texture(picture, textureUv).rgb, 1.0); }`;

class Painter {
  constructor(canvas, topology, stage) {
    // Throws where there is no WebGL: the caller shows still pictures then.
    const gl = canvas.getContext("webgl2", { antialias: true });
    if (!gl) throw new Error("no WebGL 2");
    Object.assign(this, { gl, topology, stage, textures: {} });
    this.mesh = makeProgram(gl, MESH_VERTEX, MESH_FRAGMENT);
    this.backdrop = makeProgram(gl, BACKGROUND_VERTEX, BACKGROUND_FRAGMENT);
    this.empty = gl.createVertexArray();
    this.layout = gl.createVertexArray();
    gl.bindVertexArray(this.layout);
    this.positions = this.attribute("position", 3);
    this.normals = this.attribute("normal", 3);
    this.fill(this.attribute("uv", 2), topology.uvs, 2);
    for (const name of ["texture", "background"]) this.textures[name] = makeTexture(gl);
  }

  attribute(name, size) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    const place = gl.getAttribLocation(this.mesh, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
    return buffer;
  }

  fill(buffer, values, size) {
    const { gl, topology } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    // Not indexed: every face has corners of its own, which the wireframe needs.
    gl.bufferData(gl.ARRAY_BUFFER, perCorner(values, topology.faces, size), gl.STATIC_DRAW);
  }

  show(vertices, texture, background) {
    this.fill(this.positions, vertices, 3);
    this.fill(this.normals, vertexNormals(vertices, this.topology), 3);
    fillTexture(this.gl, this.textures.texture, texture);
    fillTexture(this.gl, this.textures.background, background);
    this.radius = largestRadius(vertices);
  }

  // view: yaw, pitch, zoom, mode, shaded, backdrop.
  draw(view) {
    const { gl } = this;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (view.backdrop) this.drawBackground(view);
    this.drawMesh(view);
  }

  drawBackground({ yaw, pitch }) {
    const { gl, backdrop, stage } = this;
    const size = 1 / stage.background_scale;
    const pan = (angle, range) =>
      (Math.max(-1, Math.min(1, angle / Math.max(range, 1e-6))) * (1 - size)) / 2;
    const [yawRange, pitchRange] = stage.pan_range;
    gl.useProgram(backdrop);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.CULL_FACE);
    gl.bindVertexArray(this.empty);
    gl.bindTexture(gl.TEXTURE_2D, this.textures.background);
    const place = (name) => gl.getUniformLocation(backdrop, name);
    gl.uniform2f(place("centre"), 0.5 - pan(yaw, yawRange), 0.5 + pan(pitch, pitchRange));
    gl.uniform1f(place("size"), size);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  drawMesh({ yaw, pitch, zoom, mode, shaded }) {
    const { gl, mesh, stage, radius } = this;
    const place = (name) => gl.getUniformLocation(mesh, name);
    gl.useProgram(mesh);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.bindVertexArray(this.layout);
    gl.bindTexture(gl.TEXTURE_2D, this.textures.texture);
    const near = Math.max(stage.distance - 1.01 * radius, 0.01 * stage.distance);
    gl.uniformMatrix3fv(place("cameraFromWorld"), true, orbitRotation(yaw, pitch));
    gl.uniform1f(place("eye"), stage.distance);
    gl.uniform1f(place("focal"), stage.focal * zoom);
    gl.uniform2f(place("depths"), near, stage.distance + 1.01 * radius);
    gl.uniform3fv(place("clay"), CLAY);
    gl.uniform3fv(place("ink"), INK);
    gl.uniform1i(place("mode"), MODES[mode]);
    gl.uniform1i(place("shaded"), shaded);
    gl.drawArrays(gl.TRIANGLES, 0, this.topology.faces.length);
  }
}

function makeProgram(gl, vertexSource, fragmentSource) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertexSource], [gl.FRAGMENT_SHADER, fragmentSource]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(`WebGL does not take a program: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}

// Bilinear and clamped, as the renderer samples; row 0 is v = 0.
function makeTexture(gl) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
    gl.texParameteri(gl.TEXTURE_2D, axis, gl.CLAMP_TO_EDGE);
  }
  for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
    gl.texParameteri(gl.TEXTURE_2D, filter, gl.LINEAR);
  }
  return texture;
}

function fillTexture(gl, texture, image) {
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
}
