// Meshes as the report carries them, turned into arrays for the graphics card.
// Axes: x right, y down, z forward; a front face is counter-clockwise on a screen whose y is up.

// Typed arrays of the little-endian numbers that the report was written with.
function decode(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function decodeTopology(data) {
  const Index = data.index_bytes === 4 ? Uint32Array : Uint16Array;
  const faces = decode(data.faces, Index);
  const weld = decode(data.weld, Index);
  const uvs = Float32Array.from(decode(data.uvs, Uint16Array), (level) => level / 65535);
  return { faces, weld, uvs };
}

function decodeVertices(sample) {
  const levels = decode(sample.vertices, Uint16Array);
  return Float32Array.from(levels, (level, i) => sample.low[i % 3] + sample.step[i % 3] * level);
}

// Values per vertex as values per corner of the faces, one face after the other.
function perCorner(values, faces, size) {
  const corners = new Float32Array(faces.length * size);
  for (let i = 0; i < faces.length; i++) {
    for (let k = 0; k < size; k++) corners[size * i + k] = values[size * faces[i] + k];
  }
  return corners;
}

// Area-weighted mean over the faces at each welded vertex, as `gan3d.render.vertex_normals`.
function vertexNormals(vertices, { faces, weld }) {
  const total = new Float32Array(vertices.length);
  for (let i = 0; i < faces.length; i += 3) {
    const [a, b, c] = [3 * faces[i], 3 * faces[i + 1], 3 * faces[i + 2]];
    const normal = cross(difference(vertices, b, a), difference(vertices, c, a));
    for (let k = 0; k < 3; k++) {
      const vertex = 3 * weld[faces[i + k]];
      for (let axis = 0; axis < 3; axis++) total[vertex + axis] += normal[axis];
    }
  }
  const normals = new Float32Array(vertices.length);
  for (let i = 0; i < weld.length; i++) {
    const from = 3 * weld[i];
    const length = Math.hypot(total[from], total[from + 1], total[from + 2]) || 1;
    for (let axis = 0; axis < 3; axis++) normals[3 * i + axis] = total[from + axis] / length;
  }
  return normals;
}

function difference(vertices, b, a) {
  return [0, 1, 2].map((axis) => vertices[b + axis] - vertices[a + axis]);
}

function cross([ax, ay, az], [bx, by, bz]) {
  return [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx];
}

function largestRadius(vertices) {
  let square = 0;
  for (let i = 0; i < vertices.length; i += 3) {
    square = Math.max(square, vertices[i] ** 2 + vertices[i + 1] ** 2 + vertices[i + 2] ** 2);
  }
  return Math.sqrt(square);
}

// camera_from_world rotation of an orbiting camera, row by row, as `gan3d.render.orbit_camera`:
// positive yaw moves the camera towards +x, positive pitch moves it up.
function orbitRotation(yaw, pitch) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [cy, 0, sy, sp * sy, cp, -sp * cy, -cp * sy, sp, cp * cy];
}
