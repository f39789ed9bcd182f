// Files to pictures that can be sent.

/** Longest side that is sent: the model sees 448, and a photo of 50 megapixels takes a while to upload. */
export const LONGEST = 2048;

// What both the server and browsers read. Others, if the browser can read them, are sent as PNG.
const SENT_AS_IS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];

export class UnreadableError extends Error {}

/**
 * @param {File} file
 * @returns {Promise<{picture: import("./conversation.js").Picture, was: {width: number, height: number} | null}>}
 *   `was` is its size where it was made smaller
 * @throws {UnreadableError} it is no picture, or of a kind that the browser does not know
 */
export async function readPicture(file) {
  const address = URL.createObjectURL(file);
  try {
    const image = await decoded(address, file.name);
    // Both are upright: the browser turns photos as their camera noted, as the server does.
    const { naturalWidth: width, naturalHeight: height } = image;
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    if (scale === 1 && SENT_AS_IS.includes(file.type)) {
      return { picture: { url: await dataUrl(file), width, height, name: file.name }, was: null };
    }
    const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
    const url = redrawn(image, size, file.type === "image/jpeg" ? "image/jpeg" : "image/png");
    return { picture: { url, ...size, name: file.name }, was: scale < 1 ? { width, height } : null };
  } finally {
    URL.revokeObjectURL(address);
  }
}

/**
 * An image that is ready to be drawn.
 * @throws {UnreadableError}
 */
export async function decoded(address, name = "") {
  const image = new Image();
  image.src = address;
  try {
    await image.decode();
  } catch {
    throw new UnreadableError(name);
  }
  if (!image.naturalWidth || !image.naturalHeight) throw new UnreadableError(name);
  return image;
}

function redrawn(image, { width, height }, type) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return canvas.toDataURL(type, 0.92);
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new UnreadableError(file.name)));
    reader.readAsDataURL(file);
  });
}
